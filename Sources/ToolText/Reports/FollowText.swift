// What `qatlas follow` prints: a line for everything that another program's writes changed in an image, as it is seen.

package import Cartography
import Storage

/// Lines of a followed image, as text or JSON.
package struct FollowText {
  private let json: Bool
  private let output: (String) -> Void

  package init(json: Bool, output: @escaping (String) -> Void) {
    self.json = json
    self.output = output
  }

  private func put(_ fields: [Field], _ text: String) {
    output((json ? ReportValue.object(fields).jsonLine : Escaping.human(text)) + "\n")
  }

  /// What was looked at first.
  package func write(name: String, length: UInt64, generation: Int, remark: String?) {
    var fields = [
      Field("event", .string("open")), Field("file", .string(name)), Field("length", .number(length)),
      Field("generation", .number(UInt64(generation))),
    ]
    if let remark { fields.append(Field("note", .string(remark))) }
    put(fields, "open  \(name)  \(length) bytes" + (remark.map { "  note: " + $0 } ?? ""))
  }

  /// One change that was taken over, with the generation behind it.
  package func write(_ change: Narration, generation: Int) {
    let numbers = change.numbers
    let grown = Int64(clamping: numbers.lengthAfter) - Int64(clamping: numbers.lengthBefore)
    let fields = [
      Field("event", .string("change")), Field("generation", .number(UInt64(generation))),
      Field("title", .string(change.title)), Field("clusters-new", .number(numbers.clustersTaken)),
      Field("clusters-freed", .number(numbers.clustersFreed)),
      Field("l2-entries", .number(numbers.l2EntriesChanged)),
      Field("l2-tables-new", .number(numbers.tablesAdded)),
      Field("length", .number(numbers.lengthAfter)), Field("length-change", .signed(grown)),
      Field("lines", .array(change.lines.prefix(8).map { .string($0) })),
    ]
    var text =
      "\(change.title)  generation \(generation)  \(numbers.clustersTaken) new, \(numbers.clustersFreed) freed  "
      + counted(numbers.l2EntriesChanged, "L2 entry", "L2 entries")
    if grown != 0 { text += "  file \(grown > 0 ? "+" : "")\(grown) bytes, \(numbers.lengthAfter) now" }
    if let first = change.lines.first { text += "  \(first)" }
    put(fields, text)
  }

  /// What is known of the file changed, or it had to be read again.
  package func write(state: String) {
    put([Field("event", .string("state")), Field("state", .string(state))], "state  \(state)")
  }
}
