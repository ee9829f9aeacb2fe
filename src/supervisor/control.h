/* The supervisor's control socket, DATA/run/control.sock: `lockset devctl` connects, sends one JSON message
 * {"op":"stop|start|freeze|thaw","process":NAME}, gets {"ok":true} or {"ok":false,"code","message"}. */
#ifndef LOCKSET_SUPERVISOR_CONTROL_H
#define LOCKSET_SUPERVISOR_CONTROL_H

#include "base/buf.h"

/* Carries an action out; the detail of a failure goes to the client. */
typedef struct result control_act(void *arg, const char *action, const char *process);

/* Accepts one client on the listening socket, serves its message and closes. Never blocks longer than a second. */
void control_serve(int listener, control_act *act, void *arg);

#endif
