#include "tools/doctor/host_checks.h"

#include <utility>

namespace tools {

Findings check_host() {
  Findings findings{check_kvm(), check_tun()};
  for (Finding& one : check_qemu(findings.front())) findings.push_back(std::move(one));
  for (const auto check : {check_sandbox, check_namespaces, check_proxy, check_descriptors,
                           check_locked_memory, check_shared_memory, check_temporary_folder}) {
    findings.push_back(check());
  }
  return findings;
}

}  // namespace tools
