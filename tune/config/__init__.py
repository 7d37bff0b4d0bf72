"""Every option of a search: named, typed and given its default once. Imports nothing else of the house."""
