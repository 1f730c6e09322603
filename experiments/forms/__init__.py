"""Forms generated from an experiment's configuration model, and the configuration decoded from their data.

Pure, on plain dicts: `introspection` (a pydantic model → `fields.Field`), `encoding` (configuration → form data),
`decoding` (form data → configuration), `error_paths` (errors → where they are shown), `list_edits` (items of lists),
`prefill` (links). Django's: `rendering`, `widget`, `plain`, `instance`.
"""
