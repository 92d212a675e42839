"""Database and files: the adapters behind `UnitOfWork` and `FileStore` of `dicom_node.ports`.

database.py     open_database(url, data_dir) -> Database: engine, unit_of_work(), reading(), ping(), close()
unit_of_work.py one transaction over the repositories
rows.py         the tables (private to this package); mapping.py translates rows to core types and back
studies.py jobs.py deliveries.py history.py quarantine.py     the repositories
migrations/     alembic environment and revisions; schema.py brings a database to the newest one
files.py        received bytes, durable when `write` returns; disk.py the system calls it makes
lock.py         one node for one data_dir
backup.py       one archive of it all; restore.py the way back
memory.py       the in-memory twin of all of it, held to the same contract suite
"""
