import { firstValueFrom, lastValueFrom, toArray } from "rxjs";
import { type PostgresResultBackend, TaskNotFoundError } from "kojin-postgres";

/** A call by a role on objects that the owner has prepared under an id of their own. */
export interface Scene {
  readonly backend: PostgresResultBackend;
  readonly owner: PostgresResultBackend;
  readonly id: string;
}

// Longer than any spec may take, so that a call refused only at its deadline fails the spec.
const wait = 120_000;

/** Prepares, under `id`: a result; a completed group of the tasks a and b; and an expired one of each. */
export async function prepare(owner: PostgresResultBackend, id: string): Promise<void> {
  await owner.store(id, { of: id });
  await owner.store(`${id} expired`, 1, { ttlMs: 1 });
  await owner.initGroup(id, ["a", "b"]);
  await owner.initGroup(`${id} expired`, 0, { ttlMs: 1 });
  await Promise.all([owner.completeGroupMember(id, "a", 1), owner.completeGroupMember(id, "b", 2)]);
}

const done = (groupId: string): object => ({ groupId, total: 2, completed: 2, failed: 0, done: true });

/** Each call of the API that asks the database, with its answer. */
export const calls: Readonly<Record<string, (scene: Scene) => Promise<void>>> = {
  store: async ({ backend, id }) => backend.store(`${id} stored`, 1),
  "store with onConflict keep": async ({ backend, id }) => backend.store(id, 2, { onConflict: "keep" }),
  fail: async ({ backend, id }) => backend.fail(`${id} failed`, new Error("no")),

  expect: async ({ backend, id }) => backend.expect(`${id} expected`),
  "get of a task that must exist": async ({ backend, id }) => {
    const answer: unknown = await backend.get(`${id} absent`, { mustExist: true }).catch((reason: unknown) => reason);
    if (!(answer instanceof TaskNotFoundError)) throw answer;
  },
  get: async ({ backend, id }) => expect(await backend.get(id)).toEqual({ of: id }),
  getSettled: async ({ backend, id }) => expect(await backend.getSettled(id)).toMatchObject({ status: "fulfilled" }),
  wait: async ({ backend, owner, id }) => {
    const [value] = await Promise.all([backend.wait(`${id} later`, wait), owner.store(`${id} later`, 3)]);
    expect(value).toBe(3);
  },
  waitSettled: async ({ backend, id }) =>
    expect(await backend.waitSettled(id, wait)).toMatchObject({ status: "fulfilled" }),
  result$: async ({ backend, id }) => expect(await firstValueFrom(backend.result$(id))).toEqual({ of: id }),
  results$: async ({ backend, owner, id }) => {
    const taskId = `${id} in feed`;
    const outcome = firstValueFrom(backend.results$({ where: (each) => each === taskId }));
    await Promise.all([outcome, owner.store(taskId, 4)]);
    expect(await outcome).toEqual({ taskId, status: "fulfilled", value: 4 });
  },
  delete: async ({ backend, id }) => expect(await backend.delete(id)).toBe(true),

  emit: async ({ backend, id }) => expect(await backend.emit(`${id} running`, 1)).toBe(1),
  chunks$: async ({ backend, owner, id }) => {
    await owner.emit(`${id} streamed`, "chunk");
    await owner.store(`${id} streamed`, "result");
    const chunk = { kind: "chunk", attempt: 1, sequence: 1, value: "chunk" };
    expect(await lastValueFrom(backend.chunks$(`${id} streamed`))).toEqual(chunk);
  },

  "initGroup with a number": async ({ backend, id }) => backend.initGroup(`${id} of two`, 2),
  "initGroup with ids": async ({ backend, id }) => backend.initGroup(`${id} of names`, ["x", "y"]),
  completeGroupMember: async ({ backend, id }) =>
    expect(await backend.completeGroupMember(`${id} begun`, "a", 1)).toBe(1),
  failGroupMember: async ({ backend, id }) =>
    expect(await backend.failGroupMember(`${id} doomed`, "a", new Error("no"))).toBe(0),
  claimGroup: async ({ backend, id }) => expect(await backend.claimGroup(id)).toMatchObject({ groupId: id }),
  "claimGroup with a lease, and ack": async ({ backend, owner, id }) => {
    await owner.initGroup(`${id} leased`, 0);
    const claim = await backend.claimGroup(`${id} leased`, { leaseMs: 60_000 });
    expect(await claim?.ack()).toBe(true);
  },
  unclaimedGroups: async ({ backend }) => expect(await backend.unclaimedGroups()).toBeInstanceOf(Array),
  openGroups: async ({ backend, id }) => {
    const groupIds = (await backend.openGroups({ limit: 10_000 })).map(({ groupId }) => groupId);
    expect(groupIds).not.toContain(id);
  },

  getGroup: async ({ backend, id }) => expect(await backend.getGroup(id)).toEqual(done(id)),
  getGroupResults: async ({ backend, id }) => expect(await backend.getGroupResults(id)).toEqual([1, 2]),
  waitGroup: async ({ backend, id }) => expect(await backend.waitGroup(id, wait)).toEqual([1, 2]),
  "waitGroup of one that fails": async ({ backend, owner, id }) => {
    await owner.initGroup(`${id} fails`, 1);
    await owner.failGroupMember(`${id} fails`, "a", new Error("no"));
    const rejection: unknown = await backend.waitGroup(`${id} fails`, wait).catch((reason: unknown) => reason);
    if (!(rejection instanceof Error) || rejection.name !== "GroupFailedError") throw rejection;
  },
  group$: async ({ backend, id }) => expect(await lastValueFrom(backend.group$(id))).toEqual(done(id)),
  groupMembers$: async ({ backend, id }) =>
    expect(await lastValueFrom(backend.groupMembers$(id).pipe(toArray()))).toHaveLength(2),
  groupResults$: async ({ backend, id }) => expect(await firstValueFrom(backend.groupResults$(id))).toEqual([1, 2]),
  groupCompletions$: async ({ backend, owner, id }) => {
    const completion = firstValueFrom(backend.groupCompletions$());
    await Promise.all([completion, owner.initGroup(`${id} completed`, 0)]);
    expect(await completion).toMatchObject({ done: true });
  },

  deleteGroup: async ({ backend, id }) => expect(await backend.deleteGroup(id)).toBe(true),

  prune: async ({ backend }) => expect((await backend.prune()).groups).toBeGreaterThanOrEqual(0),
};

/**
 * Calls that a storer can make as well, since storing needs the right to read: an upsert that says `excluded.result`
 * asks for it.
 */
export const besides: readonly string[] = ["get", "getSettled", "wait", "waitSettled", "result$", "results$"];

/** The calls that each role is for. All others except `besides` are refused. */
export const allowed = {
  storer: [
    "store",
    "store with onConflict keep",
    "fail",
    "emit",
    "expect",
    "initGroup with a number",
    "initGroup with ids",
    "completeGroupMember",
    "failGroupMember",
    "claimGroup",
    "claimGroup with a lease, and ack",
    "unclaimedGroups",
    "openGroups",
  ],
  waiter: [
    ...besides,
    "get of a task that must exist",
    "chunks$",
    "openGroups",
    "unclaimedGroups",
    "getGroup",
    "getGroupResults",
    "waitGroup",
    "waitGroup of one that fails",
    "group$",
    "groupMembers$",
    "groupResults$",
    "groupCompletions$",
  ],
  janitor: ["prune", "delete", "deleteGroup"],
  nobody: [],
} as const satisfies Record<string, readonly string[]>;

export type RoleName = keyof typeof allowed;
