"""M2's `setting.json`: models, rules and the JSON Schema made from them; pure."""
