import { notifyQueueUsageText } from "../database/database";
import { type Check, type CheckContext, type Finding, ok, problem, warning } from "./check";

/** From here on a filling queue should be looked at, as `health()` says too. */
const queueUsageAlarm = 0.25;
const slowHeartbeatMs = 1_000;
const maxProbes = 5;
/** Up to Postgres 18 each notifying commit wakes every one of them. */
const manyListeners = 200;

/** Whether there is a pooler, and whether it lets LISTEN through. */
export const checkPooler: Check = async ({ database, health, timeoutMs, notifier }) => {
  if (notifier !== undefined) return ok(`Notifications travel over ${notifier}, so a pooler does not affect them.`);
  if (!(await database.isPooled(timeoutMs))) return ok("The connections are sessions of the server itself.");
  if (health.status === "listening") return ok("There is a pooler in between, and LISTEN has a session of its own.");
  return problem(
    "There is a pooler in between, and notifications do not come through it, as in transaction mode: waits are found by reading every second.",
    "Give LISTEN a direct address: listen: { connection } in the program, --listen-url here. Or have the pooler use session mode.",
  );
};

/** Whether notifications are heard, end to end: from the pool to the listener. */
export const checkListening: Check = async (context) => {
  if (context.notifier !== undefined) return Promise.resolve(checkNotifier(context.notifier, context));
  const { status, heartbeatMs, problems } = context.health;
  if (status !== "listening") {
    return Promise.resolve(
      problem(
        `Notifications are not heard: ${problems[0] ?? `the listener is ${status}`}`,
        "Waits go on, a second late at most. What stands above this line usually tells why; see docs/operations.md, “It does not listen”.",
      ),
    );
  }
  const took = heartbeatMs === undefined ? "" : `, ${heartbeatMs.toFixed(1)} ms from the pool to the listener`;
  if ((heartbeatMs ?? 0) > slowHeartbeatMs) {
    return Promise.resolve(
      warning(
        `Notifications are heard, but slowly${took}.`,
        "Look for who holds the lock of notifying commits: docs/operations.md, “Notifications are slow”.",
      ),
    );
  }
  return Promise.resolve(ok(`Notifications are heard${took}.`));
};

/** Checks that the notifier is connected and may publish and subscribe. */
function checkNotifier(notifier: string, { health, notifierProblem }: CheckContext): Finding {
  const { status, heartbeatMs } = health;
  if (status !== "listening" || notifierProblem !== undefined) {
    return problem(
      `Notifications do not travel over ${notifier}: ${notifierProblem ?? `it is ${status}`}`,
      `Look at the addresses, the credentials and the permissions of the user; see docs/nats.md. Waits go on, a second late at most while ${notifier} is away.`,
    );
  }
  const took = heartbeatMs === undefined ? "" : `, ${heartbeatMs.toFixed(1)} ms there and back`;
  return ok(`Notifications are heard over ${notifier}${took}.`);
}

/** Whether the notification queue of the cluster fills. */
export const checkQueue: Check = async ({ ask, texts }) => {
  const [row] = await ask<[number]>(notifyQueueUsageText);
  const usage = Number(row?.[0]);
  const percent = `The notification queue of the cluster is ${Math.round(usage * 100)} % full`;
  if (usage <= queueUsageAlarm) return ok(`${percent}.`);
  const sessions = (await ask<[number, string, number]>(texts.oldTransactions)).map(
    ([processId, name, seconds]) => `${processId} (${name || "unnamed"}, ${Math.round(seconds)} s)`,
  );
  const found = sessions.length === 0 ? "" : ` Longest in a transaction: ${sessions.join(", ")}.`;
  return problem(
    `${percent}; when it is full, every NOTIFY fails.${found}`,
    "Some session listens and does not read: it is in a transaction, or its client hangs. End it: select pg_terminate_backend(pid). See docs/operations.md, “The notification queue fills”.",
  );
};

/** Whether commits that notify wait for one another's lock. */
export const checkLock: Check = async ({ ask, texts }) => {
  const sessions = await ask<[number, string | null, boolean, number]>(texts.lockWaiters);
  const waiting = sessions.filter(([, , isHolder]) => !isHolder);
  const holder = sessions.find(([, , isHolder]) => isHolder);
  if (waiting.length === 0 || holder === undefined) return ok("Nobody waits for the lock of notifying commits.");
  const [processId, name, , seconds] = holder;
  const who = `process ${processId} (${name ?? "unnamed"}) for ${seconds.toFixed(1)} s`;
  const finding = `${waiting.length} session(s) wait for the lock of notifying commits; it is held by ${who}.`;
  const remedy =
    "A holder in SyncRep waits for a synchronous standby; many in turn mean slow commits (notify: 'deferred' helps); one that does nothing is frozen: select pg_terminate_backend(pid).";
  return seconds > 1 ? problem(finding, remedy) : warning(finding, remedy);
};

/** Whether so many listen that each notification becomes dear. */
export const checkListeners: Check = async ({ ask, texts, notifier }) => {
  const [row] = await ask<[number]>(texts.listeners);
  const count = row?.[0] ?? 0;
  const whose = notifier === undefined ? ", this one included" : `; this one hears over ${notifier}`;
  if (count <= manyListeners) return ok(`${count} process(es) listen in this database${whose}.`);
  return warning(
    `${count} processes listen in this database, and up to Postgres 18 each notifying commit wakes all of them.`,
    "Wait in fewer processes, or store in larger batches; see docs/operations.md, “Sizing”.",
  );
};

/** Whether a result that is stored here and now is announced, heard and read: what all the others are about. */
export const checkRoundTrip: Check = async ({ probe, health, notifier }) => {
  let { wokenBy, tookMs } = await probe();
  // Found because its subscription was confirmed just then, which says nothing of notifications.
  for (let tries = 1; wokenBy === "reconnect" && tries < maxProbes; tries += 1) ({ wokenBy, tookMs } = await probe());
  const took = `${tookMs.toFixed(1)} ms`;
  if (wokenBy === "notification" || wokenBy === "inline")
    return ok(`A result that was stored woke its wait in ${took}.`);
  const how = wokenBy === "timeout" ? `was not found within ${took}` : `was found by reading only, after ${took}`;
  const finding = `A result that was stored ${how}: no notification told of it.`;
  const isListening = health.status === "listening";
  return problem(finding, notifier === undefined ? listenRemedy(isListening) : notifierRemedy(notifier, isListening));
};

const listenRemedy = (isListening: boolean): string =>
  isListening
    ? "The listener hears, so nothing is announced: look at triggers, channel and settings above, and whether pool and listener reach the same server."
    : "Mend the listener first; see above.";

const notifierRemedy = (notifier: string, isListening: boolean): string =>
  isListening
    ? `${notifier} is reached, so what is told does not arrive: look at the permissions to publish and to subscribe, and whether the servers are connected.`
    : `See to it that ${notifier} is reached first; see above.`;
