// Labels: names for parts of the disk, from a file and from the guest's partition table.

package import Cartography
import CellScreen
import QcowFormat
import Storage

extension CommandID {
  static let labels = CommandID("labels")
}

enum Labelling {
  static let commands: [CommandSpec] = [
    CommandSpec(
      .labels, .looking, arguments: [CommandArgument("FILE", .file, optional: true)], hint: "labels",
      help: """
        name parts of the disk by the lines of a file, START-END NAME or START+LENGTH NAME; partitions have names \
        without one
        """,
      run: { explorer, command throws(CommandError) in
        let desk = explorer.desk
        if let path = command.arguments.first { desk.labels = try GuestLabels(file: path) }
        let partitions = desk.partitions.count
        desk.tell(
          "\(counted(UInt64(desk.labels.list.count), "label")) of a file, "
            + "\(counted(UInt64(partitions), "partition")) of the guest's partition table")
      })
  ]
}

extension Desk {
  /// The labels of a byte of the disk, those of partitions first.
  func labels(at guest: UInt64) -> [GuestLabel] {
    partitions.filter { $0.range.contains(guest) } + labels.labels(at: guest)
  }

  /// The next label behind (or before) a byte whose name holds a text, round the end; nil if there is none.
  func label(named text: String, from guest: UInt64, forward: Bool) -> GuestLabel? {
    let wanted = text.lowercased()
    let named = GuestLabels(partitions + labels.list).list.filter {
      Searching.contains($0.name.lowercased(), wanted)
    }
    return forward
      ? named.first { $0.range.lowerBound > guest } ?? named.first
      : named.last { $0.range.lowerBound < guest } ?? named.last
  }
}

extension Explorer {
  /// Names parts of the disk.
  package func show(labels: GuestLabels) { desk.labels = labels }
}
