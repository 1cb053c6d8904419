import { isDeepStrictEqual } from "node:util";
import type { Worker } from "./crew";
import { LateWaits } from "./outages";
import { type Ended, type GroupPlan, now, type Order } from "./protocol";
import type { LoadParts } from "./task-load";
import { isFailing, taskIdOf, valueOf } from "./tasks";

interface Group {
  readonly plan: GroupPlan;
  readonly unfinished: Set<string>;
  isInitialised: boolean;
  doneAt: number | undefined;
  claims: number;
  /** Claims that ended with an error, and may have been granted nevertheless. */
  unknownClaims: number;
}

interface StoredGroup {
  readonly group_id: string;
  readonly total: number;
  readonly completed: number;
  readonly failed: number;
  readonly is_done: boolean;
  readonly members: Record<string, { result: unknown; error: unknown }> | null;
}

/**
 * Load on groups: workers finish their members, wait for them, follow them, and compete to claim them. Failed calls are
 * repeated, as a queue would.
 */
export class GroupLoad {
  readonly #parts: LoadParts;
  readonly #groups = new Map<string, Group>();
  readonly #late = new LateWaits();
  done = 0;
  repeated = 0;

  constructor(parts: LoadParts) {
    this.#parts = parts;
  }

  get timeouts(): number {
    return this.#late.count;
  }

  get count(): number {
    return this.#groups.size;
  }

  add(): void {
    const { random, crew, calls } = this.#parts;
    const groupId = `group ${this.#groups.size + 1}`;
    const members = Array.from({ length: random.between(1, 12) }, (_, index) =>
      taskIdOf(`${groupId} member ${index + 1}`, random.chance(0.01)),
    );
    const plan: GroupPlan = { groupId, members, isDeclared: random.chance(0.4) };
    const group: Group = {
      plan,
      unfinished: new Set(members),
      isInitialised: false,
      doneAt: undefined,
      claims: 0,
      unknownClaims: 0,
    };
    this.#groups.set(groupId, group);
    const [initialising, following, waiting] = [random.pick(crew), random.pick(crew), random.pick(crew)];
    calls.later(random.chance(0.7) ? 0 : random.between(0, 2_000), () => this.#init(initialising, group));
    for (const taskId of members) {
      const worker = random.pick(crew);
      calls.later(random.between(0, 2_500), () => this.#finish(worker, group, taskId));
    }
    calls.later(random.between(0, 1_000), () => this.#follow(following, group));
    const timeoutMs = random.between(2_000, 20_000);
    calls.later(random.between(0, 3_000), () => this.#wait(waiting, group, timeoutMs));
  }

  /** True once the streams have emitted every completed group. */
  get isShown(): boolean {
    const done = [...this.#groups.values()].filter(
      ({ unfinished, isInitialised }) => unfinished.size === 0 && isInitialised,
    );
    return this.#parts.feeds.hasShown(
      "groups",
      done.map(({ plan }) => plan.groupId),
    );
  }

  async verify(): Promise<void> {
    const { site, problems, outages, feeds } = this.#parts;
    this.#late.verify((groupId) => this.#groups.get(groupId)?.doneAt, outages, problems);
    const stored = await this.#read();
    for (const { plan, claims, unknownClaims, unfinished, isInitialised } of this.#groups.values()) {
      const { groupId } = plan;
      if (unfinished.size > 0 || !isInitialised) {
        problems.add("group", `${groupId} could not be finished: ${unfinished.size} members to go`);
        continue;
      }
      feeds.expect("groups", groupId);
      if (claims > 1 || (claims === 0 && unknownClaims === 0))
        problems.add("group", `${groupId} was given to ${claims} claimers (${unknownClaims} got errors)`);
      const difference = differenceOf(plan, stored.get(groupId));
      if (difference !== undefined) problems.add("group", `${groupId}: ${difference}`);
      stored.delete(groupId);
    }
    for (const groupId of stored.keys())
      if (!this.#groups.has(groupId)) problems.add("invented", `${groupId} in ${site.schema}`);
  }

  async #read(): Promise<Map<string, StoredGroup>> {
    const { site } = this.#parts;
    const rows = await site.administer(async (client) => {
      const schema = client.escapeIdentifier(site.schema);
      const text = `
        select group_id, total, state.completed, failed, completed_at is not null as is_done,
          (select json_object_agg(task_id, json_build_object('result', result, 'error', error)) from ${schema}.kojin_groups as member where member.group_id = state.group_id) as members
        from ${schema}.kojin_group_state as state`;
      return (await client.query<StoredGroup>(text)).rows;
    }, 15_000);
    return new Map(rows.map((row) => [row.group_id, row]));
  }

  #init(worker: Worker, group: Group): void {
    this.#untilDone(worker, { what: "initGroup", group: group.plan }, () => {
      group.isInitialised = true;
      this.#settle(group);
    });
  }

  #finish(worker: Worker, group: Group, taskId: string): void {
    this.#untilDone(worker, { what: "finishMember", groupId: group.plan.groupId, taskId }, () => {
      group.unfinished.delete(taskId);
      this.#settle(group);
    });
  }

  /**
   * Repeats a failed call on another worker, since a call that ended with an error may or may not have taken effect.
   */
  #untilDone(worker: Worker, order: Order, onDone: () => void): void {
    const { calls, crew } = this.#parts;
    calls.issue(worker, order, ({ outcome }) => {
      if (outcome === "done") {
        onDone();
        return;
      }
      this.repeated += 1;
      const another = crew[(crew.indexOf(worker) + 1) % crew.length] ?? worker;
      calls.later(200, () => this.#untilDone(another, order, onDone));
    });
  }

  #settle(group: Group): void {
    if (group.unfinished.size > 0 || !group.isInitialised) return;
    group.doneAt = now();
    this.done += 1;
    for (const worker of this.#parts.crew)
      this.#parts.calls.issue(worker, { what: "claim", groupId: group.plan.groupId }, ({ outcome }) => {
        if (outcome === "done") group.claims += 1;
        if (outcome === "failed") group.unknownClaims += 1;
      });
  }

  #follow(worker: Worker, { plan }: Group): void {
    const { calls, problems } = this.#parts;
    calls.issue(worker, { what: "followGroup", group: plan }, ({ outcome, detail }) => {
      if (outcome === "failed") problems.add("wrong error", `${worker.name}: streams of ${plan.groupId}: ${detail}`);
    });
  }

  #wait(worker: Worker, { plan }: Group, wantedMs: number): void {
    const { calls, problems, longestWaitMs } = this.#parts;
    const timeoutMs = Math.min(wantedMs, longestWaitMs());
    const onEnded = ({ outcome, startedAt, detail }: Ended): void => {
      if (outcome === "timeout")
        this.#late.add({ worker: worker.name, id: plan.groupId, deadline: startedAt + timeoutMs });
      if (outcome === "failed") problems.add("wrong error", `${worker.name}: waitGroup ${plan.groupId}: ${detail}`);
    };
    calls.issue(worker, { what: "waitGroup", group: plan, timeoutMs }, onEnded);
  }
}

function differenceOf({ members }: GroupPlan, stored: StoredGroup | undefined): string | undefined {
  if (stored === undefined) return "is not there";
  const failed = members.filter(isFailing).length;
  const { total, completed } = stored;
  if (total !== members.length || stored.failed !== failed || completed !== members.length - failed || !stored.is_done)
    return `${completed} completed and ${stored.failed} failed of ${total}, of ${members.length} members with ${failed} failures`;
  const rows = stored.members ?? {};
  if (!isDeepStrictEqual(Object.keys(rows).sort(), [...members].sort()))
    return `has the members ${Object.keys(rows).join(", ")}`;
  const wrong = members.find((taskId) =>
    isFailing(taskId) ? rows[taskId]?.error === null : !isDeepStrictEqual(rows[taskId]?.result, valueOf(taskId)),
  );
  return wrong === undefined ? undefined : `has another result for ${wrong}`;
}
