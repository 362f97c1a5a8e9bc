"""The driver of M2, an image and video edge server: independent nodes, each with its `setting.json`."""
