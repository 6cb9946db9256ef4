#!/bin/sh
# {{ ansible_managed }}
### BEGIN INIT INFO
# Provides:          {{ service_name }}
# Required-Start:    $remote_fs $network
# Required-Stop:     $remote_fs $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: {{ service_description }}
### END INIT INFO
. /lib/lsb/init-functions

pid_file=/run/{{ service_name }}.pid

start() {
  # As many as the machine grants, where root may not raise it.
  ulimit -n {{ service_open_files }} 2> /dev/null || ulimit -n "$(ulimit -H -n)"
{% for name, value in service_environment.items() %}
  export {{ name }}={{ value | quote }}
{% endfor %}
  start-stop-daemon --start --oknodo --quiet --background --make-pidfile --pidfile "$pid_file" \
    --chuid {{ service_user }}:{{ service_group }} --chdir / --exec {{ service_command.split() | first }} -- {{ service_command.split()[1:] | join(' ') }}
}

stop() {
  start-stop-daemon --stop --oknodo --quiet --remove-pidfile --pidfile "$pid_file" \
    --retry TERM/{{ service_stop_seconds }}/KILL/5
}

case "$1" in
  start) start ;;
  stop) stop ;;
  restart | force-reload) stop && start ;;
  status) status_of_proc -p "$pid_file" {{ service_command.split() | first }} {{ service_name }} ;;
  *)
    echo "usage: $0 start|stop|restart|force-reload|status" >&2
    exit 2
    ;;
esac
