"""The servers that Athanor brings along, for one machine."""
