"""Two codings of the same videos: of people, of programs, of this package."""
