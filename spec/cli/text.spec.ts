import { describeAddress, Secrets } from "../../lib/cli/text";

describe("secrets", () => {
  it.each([
    ["postgres://app:s3cr%65t@db/app", "login with s3cret, or s3cr%65t, failed", "login with ***, or ***, failed"],
    ["postgres://app@db/app?password=hunter22&x=1", "{ password: 'hunter22' }", "{ password: '***' }"],
    ["postgres://app:a@b:c@db/app", "at a@b:c", "at ***"],
    ["postgres://app:%zz%@db/app", "at %zz%", "at ***"],
    // A password of two letters would take every word apart.
    ["postgres://app:at@db/app", "look at that", "look at that"],
    [undefined, "postgres://app:unknown1@db/app?password=unknown2", "postgres://app:***@db/app?password=***"],
    ["postgres://app@db/app", "nothing to hide: a@b", "nothing to hide: a@b"],
  ])("of %s are hidden in a text", (address, text, hidden) => {
    expect(new Secrets([undefined, address]).hide(text)).toBe(hidden);
  });

  it("may come to be known later", () => {
    const secrets = new Secrets(["postgres://app:short@db/app"]);
    secrets.add(["shorter", "at"]);
    expect(secrets.hide("short, shorter, and at that")).toBe("***, ***, and at that");
  });

  it("are not part of an address that is shown", () => {
    expect(describeAddress("postgres://app:secret@db.internal:5432/my%20app?password=other")).toBe(
      "app@db.internal:5432/my app",
    );
    expect(describeAddress("postgres:///app")).toBe("/app");
    expect(describeAddress("/var/run/postgresql app")).toBe("the given address");
  });
});
