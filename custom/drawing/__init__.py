"""Pictures for people: outlines, palettes, panels and contact sheets."""
