"""The sans-I/O core that both ends share: packets, states, structured clone. No clock, no socket, no loop."""
