#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "netstack/base/clock.h"
#include "netstack/capture/output.h"

namespace tools {

// So long a reader may take for a report; then the rest is left out.
constexpr uint64_t kReportPatience_ns = 5 * netstack::kSecond_ns;

// Where a file will be that is not there yet: a symbolic link may lead to it already.
std::filesystem::path place_of(const std::string& path);

// Where a text goes that is written once, at the end: a file, which is whole then or as it was
// before, a FIFO, a device, or a descriptor that the user opened.
class ReportFile {
 public:
  // Looks whether it could be written. Throws Error.
  explicit ReportFile(std::string path);
  // Opens what is no file, for as long as this lives: a FIFO's reader sees no end before the text.
  // Throws Error, as when nobody reads the FIFO.
  void open();
  std::string directory() const;  // in which a file will be made; empty: none
  // Waits for a reader, for kReportPatience_ns at most. Throws Error.
  void write(const std::string& text);

 private:
  void write_out(const std::string& text);
  void write_beside(const std::string& text) const;

  std::string path_;
  std::string place_;  // of a file, behind symbolic links
  bool is_file_ = false;
  std::unique_ptr<netstack::Output> output_;  // null: not open yet, or a file
};

}  // namespace tools
