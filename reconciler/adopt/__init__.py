"""Import of live state: writes what nodes show as files of the desired state."""
