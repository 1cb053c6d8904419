import { parseOptions as parseBench, usage } from "../../bench/options";
import { parseOptions as parseScaling } from "../../bench/scaling/options";
import { parseOptions as parseSoak } from "../../soak/options";

describe("the options of the bench", () => {
  it("measure every row in full by default", () => {
    expect(parseBench([])).toEqual({
      isQuick: false,
      only: undefined,
      json: undefined,
      compare: undefined,
      isExplained: false,
    });
  });

  it("can be given together", () => {
    const options = parseBench(["--quick", "--only", "waits|group", "--json", "new.json", "--compare=old.json"]);
    expect(options).toEqual({
      isQuick: true,
      only: /waits|group/i,
      json: "new.json",
      compare: "old.json",
      isExplained: false,
    });
  });

  it("explain rows that match a pattern", () => {
    expect(parseBench(["--explain", "--only", "REDIS"])).toMatchObject({ isExplained: true, only: /REDIS/i });
  });

  it("give the help for --help, whatever else is given", () => {
    expect(parseBench(["--quick", "--help"])).toBe("help");
  });

  it.each([
    [["--fast"], /--fast/],
    [["rows"], /rows/],
    [["--json"], /--json/],
    [["--compare"], /--compare/],
    [["--only", "("], /regular expression/],
    [["--explain", "--quick"], /--explain measures nothing/],
    [["--explain", "--json", "new.json"], /--explain measures nothing/],
    [["--explain", "--compare", "old.json"], /--explain measures nothing/],
  ])("reject %j", (args, message) => {
    expect(() => parseBench(args)).toThrow(message);
  });

  it("all have a line in the help", () => {
    for (const option of ["--quick", "--only PATTERN", "--json FILE", "--compare FILE", "--explain", "--help"])
      expect(usage).toMatch(new RegExp(`^ {2}${option} `, "m"));
  });
});

describe("the options of the bench of many waiting processes", () => {
  it("measure 10, 50 and 200 processes by default, and 10 in a quick run", () => {
    expect(parseScaling([])).toMatchObject({ rounds: 3, processes: [10, 50, 200], json: undefined });
    expect(parseScaling(["--quick"])).toMatchObject({ rounds: 1, processes: [10] });
  });

  it("take numbers of processes", () => {
    expect(parseScaling(["--processes", "3,30", "--json", "file"])).toMatchObject({ processes: [3, 30], json: "file" });
  });

  it.each(["", "0", "3,,4", "1.5", "-2", "ten"])("reject %j processes", (processes) => {
    expect(() => parseScaling([`--processes=${processes}`])).toThrow(/--processes: expected whole numbers/);
  });
});

describe("the options of the soak", () => {
  it("soak for a minute by default, with a new seed each time", () => {
    expect(parseSoak([])).toEqual({ minutes: 1, seed: expect.stringMatching(/^\d+$/) as string });
  });

  it("take fractions of minutes, and any seed", () => {
    expect(parseSoak(["--minutes", "0.5", "--seed", "a b"])).toEqual({ minutes: 0.5, seed: "a b" });
  });

  it.each(["0", "-1", "10001", "NaN", "Infinity", ""])("reject %j minutes", (minutes) => {
    expect(() => parseSoak([`--minutes=${minutes}`])).toThrow(/--minutes: expected a number above 0/);
  });
});
