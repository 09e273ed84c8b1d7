// What `qatlas defrag` says: what there is to do, how far it is, and what it has done.

import Cartography
package import Qcow
import Storage

/// The words of `qatlas defrag`.
package enum DefragText {
  /// What would be done, as lines for people or as members for programs.
  package static func forecast(_ forecast: RelocationForecast, leaks: UInt64) -> ReportValue {
    let numbers: [(String, UInt64)] = [
      ("data-clusters-in-place", forecast.inPlace), ("data-clusters-to-move", forecast.toMove),
      ("compressed-clusters-in-place", forecast.streamsInPlace),
      ("compressed-clusters-to-move", forecast.streamsToMove),
      ("table-clusters-to-move", forecast.tablesToMove), ("leaked-clusters", leaks),
      ("bytes-to-copy", forecast.bytesToCopy), ("free-space-needed", forecast.spaceNeeded),
      ("file-size-before", forecast.lengthBefore), ("file-size-after", forecast.lengthAfter),
      ("data-end", forecast.dataEnd),
    ]
    return .object(numbers.map { .init($0.0, .number($0.1)) })
  }

  /// The same as lines for people.
  package static func human(_ forecast: RelocationForecast, leaks: UInt64) -> String {
    var text =
      "data clusters: \(forecast.inPlace) in place, \(forecast.toMove) to move\n"
      + "compressed clusters: \(forecast.streamsInPlace) in place, \(forecast.streamsToMove) to move\n"
      + "tables: \(counted(forecast.tablesToMove, "cluster")) to move\n"
    if leaks > 0 { text += "leaked clusters: \(leaks) to give back\n" }
    return text + "bytes to copy: about \(size(forecast.bytesToCopy))\n"
      + "free space needed: at most \(size(forecast.spaceNeeded))\n"
      + (forecast.hasFixedLength
        ? "the data ends at: \(size(forecast.dataEnd)) of the volume's \(size(forecast.lengthBefore))\n"
        : "file size: \(size(forecast.lengthBefore)) before, \(size(forecast.lengthAfter)) after\n")
  }

  private static func size(_ bytes: UInt64) -> String {
    bytes < 1024 ? counted(bytes, "byte") : "\(IoFormat.size(bytes)) (\(bytes) bytes)"
  }

  /// What was done.
  package static func summary(_ forecast: RelocationForecast, leaks: UInt64, length: UInt64) -> String {
    var text = leaks > 0 ? "\(counted(leaks, "leaked cluster")) given back.\n" : ""
    if forecast.toMove + forecast.streamsToMove + forecast.tablesToMove == 0
      && length == forecast.lengthBefore
    {
      return text + "The image is in order.\n"
    }
    text +=
      "Image put in order: \(counted(forecast.toMove, "data cluster")) moved, "
      + "\(forecast.inPlace) \(worded(forecast.inPlace, "was", "were")) in place"
    if forecast.streamsToMove > 0 {
      text += ", \(counted(forecast.streamsToMove, "compressed cluster")) moved"
    }
    guard !forecast.hasFixedLength else {
      return text + ".\nThe data ends at \(size(forecast.dataEnd)) of the volume's \(size(length)).\n"
    }
    return text + ".\nFile size: \(size(forecast.lengthBefore)) before, \(size(length)) after.\n"
  }

  /// "    (12.34/100%)", the line of the genuine tool's -p, without its carriage return.
  package static func progress(_ progress: RelocationProgress) -> String {
    "    (" + Notation.decimals(progress.percent, 2) + "/100%)"
  }
}
