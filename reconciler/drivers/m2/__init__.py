"""M2, an image and video edge server: independent nodes, each ruled by its `setting.json`."""
