#include "tools/vde_switch/command_splitter.h"

namespace tools {

void CommandSplitter::feed(std::string_view bytes) {
  text_ += bytes;
}

std::optional<CommandSplitter::Line> CommandSplitter::next() {
  const size_t end = text_.find('\n');
  if (end != std::string::npos) {
    saw_line_feed_ = true;
    return cut(end, end + 1);
  }
  if (text_.size() > kCommandLine_size) {  // keep that it was too long, not the text
    skipping_ = true;
    text_.resize(1);
  }
  return std::nullopt;
}

std::optional<CommandSplitter::Line> CommandSplitter::take_tail() {
  if (text_.empty()) return std::nullopt;
  return cut(text_.size(), text_.size());
}

CommandSplitter::Line CommandSplitter::cut(size_t size, size_t consumed) {
  Line line;
  line.too_long = skipping_ || size > kCommandLine_size;
  if (!line.too_long) line.text = text_.substr(0, size);
  text_.erase(0, consumed);
  skipping_ = false;
  return line;
}

}  // namespace tools
