from mainbus.cores import CallsCore as CallsCore
from mainbus.cores import InboxCore as InboxCore
from mainbus.cores import OutboxCore as OutboxCore
from mainbus.cores import RouteCore as RouteCore
from mainbus.cores import TargetCore as TargetCore
