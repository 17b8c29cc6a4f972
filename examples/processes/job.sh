# Runs one job in its own directory, which outlives whoever started it.
trap : TERM # a cancel is for the command; how it ended is still written down
echo $$ >group.new && mv group.new group || exit 1
# Whatever the command starts inherits our input, and with it the lock.
/bin/sh -c "$1" 9<&0 </dev/null >output 2>&1
echo $? >exit.new && mv exit.new exit
