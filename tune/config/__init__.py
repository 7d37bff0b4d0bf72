"""Every option of a search: named, typed and given its default once. Imports nothing of the house but its errors."""
