"""How experiments run: states, supervision, the lossless way of a line, the public verbs (`runs.services`)."""
