/** A live page of results, failures and groups, by itself or in your own server. */
export type { DashboardAuth } from "./access";
export { type Dashboard, startDashboard } from "./dashboard";
export type { DashboardOptions } from "./dashboard-options";
export { type DashboardListener, mountDashboard, type MountOptions } from "./mount";
