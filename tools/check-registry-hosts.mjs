// Fails if a file of the repository names the host of a package registry, since every installation has its own.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");

const patterns = [
  /\bregistry\.(?:[a-z0-9-]+\.)+(?:cn|com|dev|eu|io|jp|net|org)\b/i,
  /\bnpm\.pkg\.[a-z]/i,
  // Written into a lock file without `omit-lockfile-registry-resolved`.
  /"resolved": "https?:/,
  ...configuredRegistry(),
];

const findings = trackedFiles().flatMap((file) => {
  const lines = readFileSync(join(root, file), "utf8").split("\n");
  const bad = lines.findIndex((line) => patterns.some((pattern) => pattern.test(line)));
  return bad < 0 ? [] : [`${file}:${bad + 1}: names the host of a package registry`];
});
if (findings.length > 0) {
  console.error(findings.join("\n"));
  process.exit(1);
}
console.log("No file names the host of a package registry.");

// Includes untracked files, so that this fails before the commit.
function trackedFiles() {
  // Otherwise git refuses to read a clone that belongs to another user.
  const options = ["-c", `safe.directory=${root}`, "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const files = execFileSync("git", options, { cwd: root, encoding: "utf8", maxBuffer: 2 ** 26 }).split("\0");
  return files.filter((file) => file !== "" && existsSync(join(root, file)));
}

// A mirror can have any name, so the configured one is looked for too.
function configuredRegistry() {
  const url = execFileSync("npm", ["config", "get", "registry"], { cwd: root, encoding: "utf8" }).trim();
  if (!URL.canParse(url)) return [];
  const host = new URL(url).host.replaceAll(/[.[\]]/g, "\\$&");
  return [new RegExp(`//${host}/`)];
}
