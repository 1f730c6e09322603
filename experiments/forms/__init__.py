"""The form that is made from an experiment's configuration; what was filled in becomes a configuration again.

Pure, on plain dicts: `describing` (a pydantic model → `fields.Field`), `encoding` (configuration → form data),
`decoding` (form data → configuration), `placing` (errors → where they are shown), `editing` (items of lists),
`prefilling` (links). Django's: `rendering`, `widget`, `plain`, `instance`.
"""

from experiments.forms.plain import ObjectField, TagsField

__all__ = ["ObjectField", "TagsField"]
