// How the image of a lesson is opened, as `--image-opts` would have it.

import Qcow
import ToolText

/// Options of the session that a lesson explores.
package struct SessionOptions: Sendable {
  /// As they stand in the lesson's file.
  package let text: String

  /// What they mean.
  var options: Image.Options {
    // They were read once already.
    (try? Self.read(text)) ?? Image.Options()
  }

  package init() {
    text = ""
  }

  /// Options with commas between: discard-no-unref=on, overlap-check=none, policy=pinned.
  ///
  /// - Throws: ``LessonProblem`` for one that is not known.
  package init(_ text: String) throws(LessonProblem) {
    self.text = text
    _ = try Self.read(text)
  }

  private static func read(_ text: String) throws(LessonProblem) -> Image.Options {
    var policy: MappingPolicy?
    var granularity: DiscardGranularity?
    var others: [String] = []
    for item in text.split(separator: ",").map({ String($0.drop { $0 == " " }) }) {
      if item.hasPrefix("policy=") {
        policy = MappingPolicy(rawValue: String(item.dropFirst(7)))
        guard policy != nil else { throw LessonProblem("'\(item)' names no policy") }
      } else if item.hasPrefix("discard-granularity=") {
        granularity = DiscardGranularity(rawValue: String(item.dropFirst(20)))
        guard granularity != nil else { throw LessonProblem("'\(item)' names no part of a cluster") }
      } else {
        others.append(item)
      }
    }
    let list = (["driver=qcow2", "file.filename=disk"] + others).joined(separator: ",")
    do throws(OpenRequest.Refusal) {
      var options = try OpenRequest(options: list, readOnly: false, cache: nil, discard: "unmap").options
      if let policy { options.policies = Policies(policy) }
      if let granularity { options.policies.discardGranularity = granularity }
      return options
    } catch { throw LessonProblem(error.description) }
  }
}
