"""An application of three processes: the main one keeps notes, an editor writes them, a viewer shows them."""
