import { AnnouncementLog } from "../../lib/nats/nats-publisher";

const unconfirmed = (log: AnnouncementLog): string[] =>
  log.unconfirmed().map(({ name, ids }) => [name, ...ids].join(" "));

describe("the log of announcements", () => {
  it("keeps what was not confirmed, however old", () => {
    const log = new AnnouncementLog(100, 1_000);
    log.add("ids", ["a", "b"], 0);
    log.add("members", ["g"], 1);
    log.confirm(0, 1_000_000);
    expect([log.isConfirmed, unconfirmed(log)]).toEqual([false, ["ids a b", "members g"]]);
    log.confirm(1, 1_000_000);
    expect([log.isConfirmed, unconfirmed(log)]).toEqual([false, ["members g"]]);
    log.confirm(log.last, 1_000_000);
    expect(log.isConfirmed).toBe(true);
    log.doubt(1_000_000);
    expect(log.isConfirmed).toBe(true);
  });

  it("keeps, for a while, what was confirmed too, and doubts all of it when a connection is lost", () => {
    const log = new AnnouncementLog(100, 1_000);
    log.add("ids", ["old"], 0);
    log.add("ids", ["new"], 1_500);
    log.confirm(log.last, 2_000);
    expect(log.isConfirmed).toBe(true);
    log.doubt(2_000);
    expect([log.isConfirmed, unconfirmed(log)]).toEqual([false, ["ids new"]]);
    log.confirm(log.last, 3_000);
    expect(log.isConfirmed).toBe(true);
  });

  it("replaces everything by one request to read everything where there are too many ids", () => {
    const log = new AnnouncementLog(3, 1_000);
    log.add("ids", ["a", "b"], 0);
    log.confirm(log.last, 0);
    expect(log.add("ids", ["c", "d"], 0)).toMatchObject({ name: "ids", ids: ["c", "d"], place: 2 });
    expect(unconfirmed(log)).toEqual(["rescan"]);
    log.add("ids", ["e"], 600);
    expect(unconfirmed(log)).toEqual(["rescan", "ids e"]);
    log.confirm(2, 600);
    expect(unconfirmed(log)).toEqual(["ids e"]);
    log.doubt(700);
    expect(unconfirmed(log)).toEqual(["rescan", "ids e"]);
    log.confirm(log.last, 5_000);
    log.doubt(5_000);
    expect(log.isConfirmed).toBe(true);
  });

  it("takes one announcement of more ids than it may keep", () => {
    const log = new AnnouncementLog(3, 1_000);
    log.add("ids", ["a", "b", "c", "d"], 0);
    expect(unconfirmed(log)).toEqual(["rescan"]);
  });

  it("costs an announcement no more after many than after few", () => {
    const log = new AnnouncementLog(20_000, 0);
    for (let count = 1; count <= 200_000; count += 1) {
      log.add("ids", ["a"], count);
      log.confirm(count, count);
    }
    expect(log.isConfirmed).toBe(true);
  });
});
