// Node can `require` these ES modules. Jest's own module system can do so only from Node 24.9 on.
const esModules = [
  "superjson",
  "copy-anything",
  "is-what",
  "arktype",
  "arkregex",
  "@ark",
  "assistant-stream",
  "nanoid",
];
const typescript = ["@swc/jest", { jsc: { target: "es2022", parser: { syntax: "typescript" } } }];

export default {
  testEnvironment: "node",
  roots: ["<rootDir>/spec", "<rootDir>/examples"],
  testMatch: ["**/*.spec.ts"],
  transform: {
    "^.+\\.ts$": typescript,
    [`/node_modules/(${esModules.join("|")})/.+\\.js$`]: ["@swc/jest", { jsc: { target: "es2022" } }],
  },
  transformIgnorePatterns: [`/node_modules/(?!(${esModules.join("|")})/)`],
  moduleNameMapper: {
    "^kojin-postgres$": "<rootDir>/lib/index.ts",
    "^kojin-postgres/conformance$": "<rootDir>/spec/conformance/index.ts",
    "^kojin-postgres/notifier$": "<rootDir>/lib/notifications/notifier.ts",
    "^kojin-postgres/(clients|dashboard|embedded|http|nats|operators|queues)$": "<rootDir>/lib/$1/index.ts",
  },
  globalSetup: "<rootDir>/spec/support/global-setup.ts",
  globalTeardown: "<rootDir>/spec/support/global-teardown.ts",
  // Specs that start processes or restart servers need longer than Jest's 5 s, and one that hangs still ends.
  testTimeout: 60_000,
  // More than there are cores, since the specs wait more than they compute. With four on two cores, specs of time fail.
  maxWorkers: 3,
};
