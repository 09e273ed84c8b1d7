// The screens there are. This list is the only place that names them all.

/// All screens.
package enum ScreenList {
  /// In the order in which help, the list of screens and the hints of the maps name them.
  static var all: [any Screen.Type] {
    [
      LadderScreen.self,
      HostScreen.self,
      SnapshotsScreen.self,
      BitmapsScreen.self,
      CheckScreen.self,
      FragmentationScreen.self,
      RefcountsScreen.self,
      HistoryScreen.self,
      SalvageScreen.self,
      StepsScreen.self,
      ThreeScreen.self,
      DiscardsScreen.self,
      LiveScreen.self,
      TableScreen.self,
      HexScreen.self,
      MapsScreen.self,
      LabScreen.self,
      LessonsScreen.self,
      FleetScreen.self,
      HelpScreen.self,
    ]
  }

  /// Which they are, in the same order.
  package static var kinds: [ScreenKind] { all.map { $0.kind } }

  static var commands: [CommandSpec] { all.flatMap { $0.commands } }

  /// Hints for the screens that are opened with a key from wherever the image is seen.
  static let answers: [HintRule] = all.compactMap { screen in
    guard let spec = screen.opener, spec.group == .looking, !spec.keys.isEmpty else { return nil }
    return HintRule(spec.id)
  }
}
