"""Import of live state: what nodes show, written down as files of the desired state."""
