import { isDeepStrictEqual } from "node:util";
import { GroupFailedError, type GroupProgress, type PostgresResultBackend } from "kojin-postgres";
import { lastValueFrom, tap } from "rxjs";
import type { GroupPlan } from "./protocol";
import { differenceOf, isFailing, type TaskValue, valueOf } from "./tasks";

/** Follows a group through both of its streams until they complete. Returns a description of what was wrong. */
export async function followGroup(backend: PostgresResultBackend, group: GroupPlan): Promise<string | undefined> {
  const [progress, members] = await Promise.all([followProgress(backend, group), followMembers(backend, group)]);
  return progress ?? members;
}

/** Waits for a group. Returns a description of what was wrong with its results. */
export async function waitForGroup(
  backend: PostgresResultBackend,
  { groupId, members, isDeclared }: GroupPlan,
  timeoutMs: number,
): Promise<string | undefined> {
  const failing = members.filter(isFailing);
  try {
    const results = await backend.waitGroup<TaskValue>(groupId, timeoutMs);
    const expected = members.map(valueOf);
    // Without declared members, results come in the database's order of ids, which may differ from JavaScript's.
    const isSame = isDeclared
      ? isDeepStrictEqual(results, expected)
      : isDeepStrictEqual(byTask(results), byTask(expected));
    if (failing.length === 0 && isSame) return undefined;
    return `got ${results.length} results, not those of its ${members.length} members`;
  } catch (error) {
    if (!(error instanceof GroupFailedError)) throw error;
    const failed = error.failures.map(({ taskId }) => taskId);
    if (failing.length > 0 && isDeepStrictEqual(failed.sort(), failing.sort())) return undefined;
    return `got failures of ${JSON.stringify(failed)}, not of ${JSON.stringify(failing)}`;
  }
}

async function followProgress(
  backend: PostgresResultBackend,
  { groupId, members }: GroupPlan,
): Promise<string | undefined> {
  let latest: GroupProgress | undefined;
  let difference: string | undefined;
  const look = (progress: GroupProgress): void => {
    if (latest !== undefined && progress.completed + progress.failed < latest.completed + latest.failed)
      difference ??= `group$ went back from ${JSON.stringify(latest)} to ${JSON.stringify(progress)}`;
    latest = progress;
  };
  await lastValueFrom(backend.group$(groupId).pipe(tap(look)), { defaultValue: undefined });
  const failed = members.filter(isFailing).length;
  const expected = { groupId, total: members.length, completed: members.length - failed, failed, done: true };
  return (
    difference ?? (isDeepStrictEqual(latest, expected) ? undefined : `group$ ended with ${JSON.stringify(latest)}`)
  );
}

async function followMembers(
  backend: PostgresResultBackend,
  { groupId, members }: GroupPlan,
): Promise<string | undefined> {
  const missing = new Set(members);
  let difference: string | undefined;
  const stream$ = backend.groupMembers$(groupId).pipe(
    tap(({ taskId, ...settled }) => {
      if (!missing.delete(taskId)) difference ??= `groupMembers$ showed ${taskId} twice, or it is no member`;
      const wrong = differenceOf(taskId, settled);
      if (wrong !== undefined) difference ??= `groupMembers$ for ${taskId}: ${wrong}`;
    }),
  );
  await lastValueFrom(stream$, { defaultValue: undefined });
  if (missing.size > 0) difference ??= `groupMembers$ completed without ${[...missing].join(", ")}`;
  return difference;
}

const byTask = (values: readonly TaskValue[]): TaskValue[] =>
  [...values].sort((a, b) => (a.taskId < b.taskId ? -1 : 1));
