from mainbus.leaving import NoLeaving

Leaving = NoLeaving
