"""The AR side over HTTP: intents in; documents, conflicts and events out. Nothing here decides anything."""
