import type { Subscription } from "@nats-io/transport-node";
import type { SubscribedKeys } from "kojin-postgres/notifier";
import { Subjects } from "../../lib/nats/options";
import { NatsSubscriptions, type SubscribingLink } from "../../lib/nats/subscriptions";

const subjects = new Subjects({ prefix: "kojin", shards: 16 }, "public");
const all = subjects.all("tasks");
const shardOf = (key: string): string => subjects.shard("tasks", subjects.shardOf(key));
/** Keys of as many shards as asked for. */
const keysOf = (count: number): string[] => {
  const found = new Map<number, string>();
  for (let index = 0; found.size < count; index += 1) found.set(subjects.shardOf(`key ${index}`), `key ${index}`);
  return [...found.values()];
};

describe("subjects", () => {
  it("are made of prefix, channel, kind and shard", () => {
    const { rescan } = subjects;
    expect(rescan).toMatch(/^kojin\.kojin_[0-9a-f]{16}\.rescan$/);
    expect(subjects.shard("tasks", 3)).toBe(rescan.replace("rescan", "tasks.3"));
    expect(subjects.all("groups")).toBe(rescan.replace("rescan", "groups.all"));
    expect([subjects.has(rescan), subjects.has("kojin.other.tasks.1")]).toEqual([true, false]);
  });

  it("have the same shard for an id in every process, by CRC-32 of its UTF-8", () => {
    expect(new Subjects({ prefix: "kojin", shards: 4_096 }, "public").shardOf("123456789")).toBe(0xcbf43926 % 4_096);
    expect(new Subjects({ prefix: "kojin", shards: 1 }, "public").shardOf("ü")).toBe(0);
  });
});

/** A server that confirms when it is told to, and refuses what it is told to refuse. */
class ScriptedLink implements SubscribingLink {
  readonly isClustered = false;
  readonly refusing = new Set<string>();
  readonly #subscribed = new Map<string, (problem: string) => void>();
  readonly #awaited: (() => void)[] = [];

  /** Subjects subscribed to, without the one for rescans. */
  get subscribed(): string[] {
    return [...this.#subscribed.keys()].filter((subject) => subject !== subjects.rescan).sort();
  }

  subscribe(subject: string, _onMessage: unknown, onRefused: (problem: string) => void): Subscription {
    this.#subscribed.set(subject, onRefused);
    return { unsubscribe: () => void this.#subscribed.delete(subject) } as Subscription;
  }

  async confirm(): Promise<boolean> {
    const covered = [...this.#subscribed.keys()];
    await new Promise<void>((resolve) => this.#awaited.push(resolve));
    for (const subject of covered.filter((each) => this.refusing.has(each))) {
      const refuse = this.#subscribed.get(subject);
      this.#subscribed.delete(subject);
      refuse?.(`no ${subject}`);
    }
    return true;
  }

  /** Confirms what was sent before the confirmation under way was asked for. */
  async answer(): Promise<void> {
    await turns();
    this.#awaited.shift()?.();
    await turns();
  }

  async answerAll(): Promise<void> {
    await turns();
    while (this.#awaited.length > 0) await this.answer();
  }
}

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
};

describe("the subscriptions of a process", () => {
  let link: ScriptedLink;
  let subscriptions: NatsSubscriptions;
  let late: SubscribedKeys[];
  let problems: (string | undefined)[];
  beforeEach(() => {
    jest.useFakeTimers();
    link = new ScriptedLink();
    subscriptions = new NatsSubscriptions(subjects, () => undefined);
    late = [];
    problems = [];
    subscriptions.subscribed$.subscribe((keys) => late.push(keys));
    subscriptions.settled$.subscribe((problem) => problems.push(problem));
  });
  afterEach(() => {
    subscriptions.close();
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });
  const attach = async (): Promise<void> => {
    subscriptions.attach(link);
    await link.answerAll();
  };
  const follow = (...keys: string[]): void => keys.forEach((key) => subscriptions.follow("tasks", key));
  const unfollow = (...keys: string[]): void => keys.forEach((key) => subscriptions.unfollow("tasks", key));
  /** Two looks for what is not used, and what comes of them. */
  const look = async (times = 2): Promise<void> => {
    await jest.advanceTimersByTimeAsync(times * 2_000);
    await link.answerAll();
  };

  it("are made for what was waited for before there was a connection", async () => {
    follow("a", "a", "b");
    unfollow("b");
    await attach();
    expect(link.subscribed).toEqual([shardOf("a")]);
    expect([late, problems]).toEqual([[], [undefined]]);
  });

  it("name the keys that came while their subject was not confirmed", async () => {
    await attach();
    follow("early");
    await turns();
    follow("early", "other");
    await link.answer();
    expect(late).toEqual([{ kind: "tasks", keys: ["early", "early"], isEverything: false }]);
    await link.answerAll();
    expect(late[1]?.keys).toEqual(["other"]);
    follow("early");
    await link.answerAll();
    expect(late).toHaveLength(2);
  });

  it("end at the second look that finds no use for them", async () => {
    await attach();
    follow("a");
    await link.answerAll();
    unfollow("a");
    await look(1);
    follow("a");
    await look(1);
    expect(link.subscribed).toEqual([shardOf("a")]);
    unfollow("a");
    await look(2);
    expect(link.subscribed).toEqual([]);
    follow("a");
    expect(link.subscribed).toEqual([shardOf("a")]);
  });

  it("are one while everything is wanted, and single ones again before that one ends", async () => {
    await attach();
    follow("a");
    await link.answerAll();
    subscriptions.followAll("tasks");
    await link.answerAll();
    expect(link.subscribed).toEqual([all]);
    expect(late.at(-1)).toEqual({ kind: "tasks", keys: [], isEverything: true });
    follow("b");
    expect(link.subscribed).toEqual([all]);
    subscriptions.unfollowAll("tasks");
    await jest.advanceTimersByTimeAsync(4_000);
    expect(link.subscribed).toEqual([all, shardOf("a"), shardOf("b")].sort());
    await link.answerAll();
    expect(link.subscribed).toEqual([shardOf("a"), shardOf("b")].sort());
  });

  it("stay one where everything is wanted again in between", async () => {
    follow("a");
    subscriptions.followAll("tasks");
    await attach();
    subscriptions.unfollowAll("tasks");
    await jest.advanceTimersByTimeAsync(4_000);
    subscriptions.followAll("tasks");
    await link.answerAll();
    expect(link.subscribed).toEqual([all]);
    follow("b");
    expect(link.subscribed).toEqual([all]);
  });

  it("are one where many shards are used, and single ones again when few are left", async () => {
    await attach();
    const [first = "", second = "", third = "", ...others] = keysOf(8);
    follow(first, second);
    await link.answerAll();
    follow(third, ...others);
    expect(link.subscribed).toEqual([all, shardOf(first), shardOf(second)].sort());
    await link.answerAll();
    expect(late.at(-1)?.keys).toEqual([third, ...others]);
    expect(link.subscribed).toEqual([all]);
    unfollow(second, third, ...others);
    await look(2);
    expect(link.subscribed).toEqual([shardOf(first)]);
  });

  it("are one for a new connection where many shards are used", async () => {
    follow(...keysOf(4));
    await attach();
    expect(link.subscribed).toEqual([all]);
  });

  it("are single ones where the one for everything is refused, and name the keys that came meanwhile", async () => {
    await attach();
    link.refusing.add(all);
    const keys = keysOf(4);
    follow(...keys);
    await link.answerAll();
    expect(link.subscribed).toEqual(keys.map(shardOf).sort());
    expect(late.flatMap((each) => each.keys).sort()).toEqual([...keys].sort());
    expect(late.map(({ isEverything }) => isEverything)).not.toContain(true);
    expect(problems).toEqual([undefined, expect.stringContaining(`no ${all}`)]);
  });

  it("are tried once more after they were refused, and not before", async () => {
    link.refusing.add(shardOf("a"));
    follow("a");
    await attach();
    follow("a");
    expect(link.subscribed).toEqual([]);
    link.refusing.clear();
    await jest.advanceTimersByTimeAsync(10_000);
    await link.answerAll();
    expect(link.subscribed).toEqual([shardOf("a")]);
    expect(problems).toEqual([expect.stringContaining("does not allow subscribing"), undefined]);
  });
});
