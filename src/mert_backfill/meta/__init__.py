"""The rebuilt meta.json, and its way back over the live one."""
