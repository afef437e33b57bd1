"""The four MNIST files as published; origin and licence are in README.md beside this file."""
