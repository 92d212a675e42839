"""The audit trail: DICOM PS3.15 A.5 messages as RFC 5424 syslog, to a file and over TLS (RFC 5425).

message.py  an event as XML                     frames.py  a message as a syslog line
log_file.py the rotated file                    spool.py   what waits to be sent
sender.py   the connection to the repository    trail.py   all of it together: `record` never raises and never waits
"""
