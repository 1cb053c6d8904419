import { KindInterest } from "../../lib/nats/kind-interest";
import { Subjects } from "../../lib/nats/subjects";

const subjects = new Subjects("kojin", "public", 16);
const shardOf = (key: string): number => subjects.shardOf(key);
const everything = 16;

describe("subjects", () => {
  it("are made of prefix, channel, kind and shard", () => {
    const { rescan } = subjects;
    expect(rescan).toMatch(/^kojin\.kojin_[0-9a-f]{16}\.rescan$/);
    expect(subjects.of("tasks", 3)).toBe(rescan.replace("rescan", "tasks.3"));
    expect(subjects.of("groups", everything)).toBe(rescan.replace("rescan", "groups.all"));
    expect([subjects.has(rescan), subjects.has("kojin.other.tasks.1")]).toEqual([true, false]);
  });

  it("have the same shard for an id in every process, by CRC-32 of its UTF-8", () => {
    expect(new Subjects("kojin", "public", 4_096).shardOf("123456789")).toBe(0xcbf43926 % 4_096);
    expect(new Subjects("kojin", "public", 1).shardOf("ü")).toBe(0);
  });
});

describe("what is wanted of one kind", () => {
  let interest: KindInterest;
  beforeEach(() => (interest = new KindInterest("tasks", subjects)));
  const confirmAll = (): ReturnType<KindInterest["confirm"]> => {
    interest.begin();
    return interest.confirm();
  };

  it("is counted while there is no connection, and queued for one", () => {
    interest.follow("a");
    interest.follow("a");
    expect([interest.hasQueued, interest.unfollow("a")]).toEqual([false, false]);
    interest.attach();
    expect(interest.begin()).toEqual([shardOf("a")]);
  });

  it("is read again once it is confirmed: all keys that came while their shard was not", () => {
    interest.attach();
    interest.follow("early");
    interest.begin();
    interest.follow("early");
    interest.follow("other");
    expect(interest.confirm()).toEqual({
      late: { kind: "tasks", keys: ["early", "early"], isEverything: false },
      dropped: [],
    });
    expect(interest.begin()).toEqual([shardOf("other")]);
    expect(interest.confirm().late.keys).toEqual(["other"]);
    interest.follow("early");
    expect(interest.hasQueued).toBe(false);
  });

  it("is dropped at the second look that finds nobody", () => {
    interest.attach();
    interest.follow("a");
    confirmAll();
    expect(interest.unfollow("a")).toBe(true);
    expect(interest.look()).toEqual({ dropped: [], isMoreIdle: true });
    interest.follow("a");
    expect(interest.look()).toEqual({ dropped: [], isMoreIdle: false });
    interest.unfollow("a");
    interest.look();
    expect(interest.look()).toEqual({ dropped: [shardOf("a")], isMoreIdle: false });
    interest.follow("a");
    expect(interest.hasQueued).toBe(true);
  });

  it("is one subject while everything is wanted, and single ones again before that is dropped", () => {
    interest.attach();
    interest.follow("a");
    confirmAll();
    interest.followAll();
    expect(interest.begin()).toEqual([everything]);
    expect(interest.confirm()).toEqual({
      late: { kind: "tasks", keys: [], isEverything: true },
      dropped: [shardOf("a")],
    });
    interest.follow("b");
    expect(interest.hasQueued).toBe(false);
    interest.unfollowAll();
    interest.look();
    expect(interest.look().dropped).toEqual([]);
    expect([...interest.begin()].sort()).toEqual([shardOf("a"), shardOf("b")].sort());
    expect(interest.confirm().dropped).toEqual([everything]);
    expect(interest.look()).toEqual({ dropped: [], isMoreIdle: false });
  });

  describe("where it is spread over many shards", () => {
    /** Keys of as many shards as asked for. */
    const keysOf = (count: number): string[] => {
      const found = new Map<number, string>();
      for (let index = 0; found.size < count; index += 1) found.set(shardOf(`key ${index}`), `key ${index}`);
      return [...found.values()];
    };

    it("is one subject, and single ones again when few are left", () => {
      interest.attach();
      const [first = "", second = "", third = "", ...others] = keysOf(8);
      for (const key of [first, second]) interest.follow(key);
      expect(interest.begin()).toEqual([shardOf(first), shardOf(second)]);
      interest.confirm();
      for (const key of [third, ...others]) interest.follow(key);
      expect(interest.begin()).toEqual([everything]);
      const { late, dropped } = interest.confirm();
      expect(late.keys).toEqual([third, ...others]);
      expect([...dropped].sort()).toEqual([shardOf(first), shardOf(second)].sort());
      for (const key of [second, third, ...others]) interest.unfollow(key);
      interest.look();
      interest.look();
      expect(interest.begin()).toEqual([shardOf(first)]);
      expect(interest.confirm().dropped).toEqual([everything]);
    });

    it("is single subjects where the one for everything is refused", () => {
      interest.attach();
      const keys = keysOf(4);
      for (const key of keys) interest.follow(key);
      expect(interest.begin()).toEqual([...keys.slice(0, 2).map(shardOf), everything]);
      interest.refuse(everything);
      expect([...interest.begin()].sort()).toEqual(keys.slice(2).map(shardOf).sort());
    });

    it("is one subject for a new connection", () => {
      for (const key of keysOf(4)) interest.follow(key);
      interest.attach();
      expect(interest.begin()).toEqual([everything]);
    });
  });

  it("stays one subject where somebody wants everything again in between", () => {
    interest.attach();
    interest.follow("a");
    interest.followAll();
    confirmAll();
    interest.unfollowAll();
    interest.look();
    interest.look();
    interest.followAll();
    expect(confirmAll().dropped).toEqual([shardOf("a")]);
    interest.follow("b");
    expect(interest.hasQueued).toBe(false);
  });

  it("is not asked for again where it was refused, until it is tried once more", () => {
    interest.attach();
    interest.follow("a");
    interest.begin();
    interest.refuse(shardOf("a"));
    interest.confirm();
    interest.follow("a");
    expect(interest.hasQueued).toBe(false);
    interest.retry();
    expect(interest.begin()).toEqual([shardOf("a")]);
  });
});
