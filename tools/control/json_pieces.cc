#include "tools/control/json_pieces.h"

#include <fmt/format.h>

namespace tools {

namespace {

using nlohmann::json;

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// The text of an array in pieces that are never empty. Its last is the closing bracket.
class ArrayPieces {
 public:
  explicit ArrayPieces(JsonItems items) : items_(std::move(items)) {}

  bool ended() const { return ended_; }
  std::string next() {
    std::string text = std::exchange(opened_, true) ? "" : "[";
    const json item = items_();
    if (item.is_discarded()) {
      ended_ = true;
      return text + (has_items_ ? "\n]" : "]");
    }
    if (item.is_null()) return text.empty() ? std::string(kBlankPiece) : text;
    return text + (std::exchange(has_items_, true) ? ",\n " : "\n ") + dump(item);
  }

 private:
  JsonItems items_;
  bool opened_ = false;
  bool has_items_ = false;
  bool ended_ = false;
};

class ObjectPieces {
 public:
  explicit ObjectPieces(std::vector<JsonMember> members) : members_(std::move(members)) {}

  std::string next() {
    if (array_ && !array_->ended()) return array_->next();
    array_.reset();
    if (at_ > members_.size()) return {};
    if (at_ == members_.size()) return ++at_, members_.empty() ? "{}\n" : "\n}\n";
    JsonMember& member = members_[at_++];
    std::string text = fmt::format("{}\n{}: ", at_ == 1 ? "{" : ",", dump(member.name));
    if (!member.items) return text + dump(member.value);
    array_.emplace(std::move(member.items));
    return text;
  }

 private:
  std::vector<JsonMember> members_;
  size_t at_ = 0;
  std::optional<ArrayPieces> array_;  // of the member before at_, until it has ended
};

}  // namespace

ControlReply reply_with_array(JsonItems items) {
  ControlReply reply;
  reply.pieces = [array = ArrayPieces(std::move(items)), over = false]() mutable -> std::string {
    if (!array.ended()) return array.next();
    return std::exchange(over, true) ? "" : "\n";
  };
  return reply;
}

ControlReply reply_with_object(std::vector<JsonMember> members) {
  ControlReply reply;
  reply.pieces = [object = ObjectPieces(std::move(members))]() mutable { return object.next(); };
  return reply;
}

}  // namespace tools
