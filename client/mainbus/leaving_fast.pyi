from mainbus.leaving import Leaving as Leaving
