#include "tools/lanyard/lock.h"

#include <linux/capability.h>

#include <filesystem>

#include "netstack/config/gateway_config.h"

namespace tools {

namespace {

Sandbox lock(const LockOptions& options, SandboxPlan plan, netstack::Log& log) {
  if (options.off) return {.why_off = "--no-sandbox was given"};
  for (const std::string& path : options.output_directories) {
    plan.files.push_back({path, FileUse::kMakeFiles});
  }
  return lock_in_if_wanted(plan, log);
}

// A UNIX socket that leads into a guest is made anew whenever the guest has stopped answering.
void add_forwards(SandboxPlan& plan, const std::vector<netstack::HostForward>& forwards) {
  for (const netstack::HostForward& forward : forwards) {
    if (!forward.is_unix()) continue;
    plan.unix_streams = true;
    plan.files.push_back({std::filesystem::path(forward.path).parent_path(), FileUse::kMakeFiles});
  }
}

}  // namespace

void LockOptions::add_to(CLI::App& app) {
  app.add_flag("--no-sandbox", off,
               "Keep all privileges, files and system calls within reach, for debugging");
  app.parse_complete_callback([this] {  // before captures are emptied and guests started
    if (!off) sandbox_is_wanted();
  });
}

void LockOptions::add_capture_directories_to(CLI::App& app) {
  app.add_option("--capture-dir", capture_directories,
                 "Let captures that start later write here, besides DIR; may be repeated")
      ->type_name("PATH")
      ->check(CLI::ExistingDirectory);
}

Sandbox lock_switch(const LockOptions& options, const Lan& lan,
                    const netstack::GatewayConfig* gateway,
                    const std::vector<std::string>& further_sockets, netstack::Log& log) {
  SandboxPlan plan;
  plan.internet = gateway != nullptr;
  if (gateway != nullptr) add_forwards(plan, gateway->forwards);
  add_host_files(plan, netstack::GatewayConfig{}.resolv_conf);
  add_lan_directory(plan, lan.directory(), false);
  for (const std::string& path : options.capture_directories) {
    plan.files.push_back({path, FileUse::kMakeFiles});
  }
  for (const std::string& path : further_sockets) add_removal(plan, path);
  return lock(options, plan, log);
}

void lock_plug(const LockOptions& options, netstack::Log& log) {
  lock(options, {}, log);
}

// A guest may have taken another user's identity (QEMU's -runas), and shall end all the same.
Sandbox lock_run(const LockOptions& options, const netstack::GatewayConfig& gateway,
                 const std::string& control, netstack::Log& log) {
  SandboxPlan plan;
  plan.internet = true;
  plan.children = true;
  plan.capabilities = {CAP_KILL};
  add_forwards(plan, gateway.forwards);
  add_host_files(plan, netstack::GatewayConfig{}.resolv_conf);
  if (!control.empty()) add_lan_directory(plan, control, false);
  for (const std::string& path : options.capture_directories) {
    plan.files.push_back({path, FileUse::kMakeFiles});
  }
  return lock(options, plan, log);
}

}  // namespace tools
