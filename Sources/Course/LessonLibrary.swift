// The lessons that the program has with it, as their files are: the build puts them into the program.

/// Finds lessons by their names.
package enum LessonLibrary {
  /// Lessons that belong together.
  package struct Part: Equatable, Sendable {
    package var title: String
    /// A side road of the path.
    package var isOptional: Bool
    /// Their names, in order.
    package var lessons: [String]
  }

  /// The lessons of the program, in the order in which they are learned.
  package static let path = parts(of: PackageResources.path)

  /// Their names, in that order.
  package static var names: [String] { path.flatMap(\.lessons) }

  /// The file of a lesson; nil for one that the program does not have.
  package static func text(_ name: String) -> [UInt8]? { texts[name]?() }

  /// A lesson of the program.
  ///
  /// - Throws: ``LessonProblem`` for one that there is not.
  package static func lesson(_ name: String) throws(LessonProblem) -> Lesson {
    guard let text = text(name) else { throw LessonProblem("no lesson is called '\(name)'") }
    return try LessonParser.read(text, name: name)
  }

  /// What a file `path` says: one name a line, "## " in front of the title of a part.
  package static func parts(of bytes: [UInt8]) -> [Part] {
    var parts: [Part] = []
    for line in String(decoding: bytes.prefix(LessonParser.largestFile), as: UTF8.self).split(separator: "\n")
    {
      let text = LessonParser.trimmed(line)
      if text.hasPrefix("## ") {
        parts.append(
          Part(title: String(text.dropFirst(3)), isOptional: text.hasSuffix("(optional)"), lessons: []))
      } else if !text.isEmpty, !text.hasPrefix("#") {
        if parts.isEmpty { parts.append(Part(title: "", isOptional: false, lessons: [])) }
        parts[parts.count - 1].lessons.append(text)
      }
    }
    return parts
  }

  /// One line for every file in `Lessons`; the build makes the constants.
  private static let texts: [String: @Sendable () -> [UInt8]] = [
    "cluster": { PackageResources.cluster_lesson },
    "lookup": { PackageResources.lookup_lesson },
    "entry": { PackageResources.entry_lesson },
    "refcounts": { PackageResources.refcounts_lesson },
    "first-write": { PackageResources.first_write_lesson },
    "cow": { PackageResources.cow_lesson },
    "subclusters": { PackageResources.subclusters_lesson },
    "zeroes": { PackageResources.zeroes_lesson },
    "snapshots": { PackageResources.snapshots_lesson },
    "compression": { PackageResources.compression_lesson },
    "preallocation": { PackageResources.preallocation_lesson },
    "growing": { PackageResources.growing_lesson },
    "lazy": { PackageResources.lazy_lesson },
    "plug": { PackageResources.plug_lesson },
    "fragmentation": { PackageResources.fragmentation_lesson },
    "two-bits": { PackageResources.two_bits_lesson },
    "hide-or-show": { PackageResources.hide_or_show_lesson },
    "mapped": { PackageResources.mapped_lesson },
    "zero-clusters": { PackageResources.zero_clusters_lesson },
    "punching": { PackageResources.punching_lesson },
    "contiguous": { PackageResources.contiguous_lesson },
    "pin": { PackageResources.pin_lesson },
    "check-report": { PackageResources.check_report_lesson },
    "leak-or-lost": { PackageResources.leak_or_lost_lesson },
    "repair": { PackageResources.repair_lesson },
    "data-file": { PackageResources.data_file_lesson },
    "bitmaps": { PackageResources.bitmaps_lesson },
    "chain": { PackageResources.chain_lesson },
    "sizing": { PackageResources.sizing_lesson },
    "stale-punch": { PackageResources.stale_punch_lesson },
    "zero-shows-base": { PackageResources.zero_shows_base_lesson },
    "published-first": { PackageResources.published_first_lesson },
    "zero-beside-write": { PackageResources.zero_beside_write_lesson },
    "short-copy": { PackageResources.short_copy_lesson },
    "packed-neighbour": { PackageResources.packed_neighbour_lesson },
    "wrong-copied": { PackageResources.wrong_copied_lesson },
  ]
}
