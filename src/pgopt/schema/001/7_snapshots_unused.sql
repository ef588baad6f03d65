select 'snapshots are taken: op.uninstall_snapshots() first'
from pgopt.job where name = 'snapshots'
