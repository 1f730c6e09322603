"""The form that is made from an experiment's configuration; what was filled in becomes a configuration again.

Pure, on plain dicts: `introspection` (a pydantic model → `fields.Field`), `encoding` (configuration → form data),
`decoding` (form data → configuration), `error_paths` (errors → where they are shown), `list_edits` (items of lists),
`prefill` (links). Django's: `rendering`, `widget`, `plain`, `instance`.
"""
