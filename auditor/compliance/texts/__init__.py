"""Legal texts: licences and policies recognised word for word, and the attribution notice."""
