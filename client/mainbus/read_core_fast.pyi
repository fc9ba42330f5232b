from mainbus.read_core import ReadCore as ReadCore
